"""ncnn, converted by pnnx, run image by image."""
