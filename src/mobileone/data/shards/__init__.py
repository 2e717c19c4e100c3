"""Data sets packed into WebDataset tar files, each with an index: written, checked, read in any order."""
