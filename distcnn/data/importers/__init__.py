"""Other people's formats: what `distcnn.data import` reads."""
