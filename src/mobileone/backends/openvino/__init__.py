"""OpenVINO, a graph in .xml and its weights in .bin."""
