"""A training job, from what it is asked to do to its result: the command and `distcnn.fit` both run it."""
