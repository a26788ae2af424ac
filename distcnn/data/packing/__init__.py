"""`distcnn.data pack`: store any dataset in distcnn's own layout, in chunks that suit streaming."""
