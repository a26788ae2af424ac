"""What rank 0 tells: progress on the screen, metrics in a file, curves in a picture."""
