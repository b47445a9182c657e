"""What AWS asks in us-east-1, in US dollars, without free tiers, discounts and taxes."""

from __future__ import annotations

from dataclasses import dataclass

REGION = "us-east-1"
AS_OF = "June 2026"
HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit costs.

    Attributes:
        per_unit: dollars.
        unit: in words.
        page: the page of AWS's that sets it.
    """

    per_unit: float
    unit: str
    page: str


PRICES = {
    "lambda_requests": Price(0.20e-6, "call of a function", "AWS Lambda Pricing"),
    "lambda_gb_s": Price(0.0000166667, "GB-second of memory, x86", "AWS Lambda Pricing"),
    "lambda_disk_gb_s": Price(
        0.0000000309, "GB-second of disk beyond 512 MB", "AWS Lambda Pricing"
    ),
    "s3_put": Price(0.005e-3, "PUT, COPY or POST", "Amazon S3 Pricing"),
    "s3_list": Price(0.005e-3, "LIST", "Amazon S3 Pricing"),
    "s3_get": Price(0.0004e-3, "GET or HEAD", "Amazon S3 Pricing"),
    "s3_delete": Price(0.0, "DELETE", "Amazon S3 Pricing"),
    "s3_gb_months": Price(0.023, "GB-month in S3 Standard", "Amazon S3 Pricing"),
    "write_units": Price(0.625e-6, "write request unit, on demand", "Amazon DynamoDB Pricing"),
    "read_units": Price(0.125e-6, "read request unit, on demand", "Amazon DynamoDB Pricing"),
    "stream_reads": Price(0.0, "read of the stream by Lambda", "Amazon DynamoDB Pricing"),
    "sqs_requests": Price(0.40e-6, "request to a standard queue", "Amazon SQS Pricing"),
    "efs_written_gb": Price(0.06, "GB written, elastic throughput", "Amazon EFS Pricing"),
    "efs_gb_months": Price(0.30, "GB-month in EFS Standard", "Amazon EFS Pricing"),
    "log_gb": Price(0.50, "GB of logs taken in", "Amazon CloudWatch Pricing"),
    "metrics": Price(0.30, "custom metric and month", "Amazon CloudWatch Pricing"),
    "alarms": Price(0.10, "alarm and month", "Amazon CloudWatch Pricing"),
    "dashboards": Price(3.00, "dashboard and month", "Amazon CloudWatch Pricing"),
}
