"""Training a net: the trainer, its workers, optimizers and schedules, and using what was trained."""
