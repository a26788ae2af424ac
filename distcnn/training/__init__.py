"""Training a net: the trainer, its workers, optimizers and schedules; evaluating and predicting with a trained net."""
