"""Other people's formats: what `distcnn.data import` reads. A new one is a module here and a line in `sources`."""
