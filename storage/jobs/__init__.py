"""Jobs: their rows, their runs, their queue."""
