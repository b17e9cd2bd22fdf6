"""How an influence result lies on disk: layout, checksums, pieces, and the writer that goes on where it was killed."""
