"""The formats that `distcnn.data import` reads. To add one, write a module here and add it to `sources.IMPORTERS`."""
