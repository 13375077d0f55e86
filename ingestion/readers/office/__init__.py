"""What office formats share: packages, drawings, kinds."""
