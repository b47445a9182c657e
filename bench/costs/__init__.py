"""What a receipt costs on AWS: counted of the real functions, then priced; ``make costs``."""
