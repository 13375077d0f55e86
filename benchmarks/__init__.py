"""What Footnote claims about its speed, measurable by anyone: ``python -m benchmarks``."""
