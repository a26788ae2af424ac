"""What an evaluation says beyond loss and accuracy: per class, calibration, the worst mistakes; as text, JSON, PNG."""
