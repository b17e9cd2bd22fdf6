"""One small file per peer: each takes a model and batches and returns its scores [test, train]."""
