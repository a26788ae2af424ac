"""The tests of distcnn, with their helpers and the programs that they start."""
