"""Errors of AWS's clients -> what a service said, in words."""

from __future__ import annotations

from botocore.exceptions import ClientError


def code_of(error: BaseException | None) -> str:
    """Give the code that a service answered with; empty where none answered."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


def said(error: Exception) -> str:
    """Give the code and the reason that a service answered with, or why none did."""
    if not isinstance(error, ClientError):
        return str(error)
    answer = error.response["Error"]
    return f"{answer['Code']}: {answer.get('Message', '')}".rstrip(": ")
