"""Excel workbooks and files of separated values."""
