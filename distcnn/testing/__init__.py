"""Checks for layers of your own: `distcnn.testing.check_layer(layer, shape)`."""

from distcnn.testing.layer_checks import check_layer as check_layer
