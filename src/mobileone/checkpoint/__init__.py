"""Models on disk: reading every public format as data, writing our own and theirs, published weights."""
