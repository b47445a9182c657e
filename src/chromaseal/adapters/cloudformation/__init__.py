"""Templates of AWS CloudFormation, and what was deployed of them."""
