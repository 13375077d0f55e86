"""What the audit record is told of that leaves no row: refusals."""
