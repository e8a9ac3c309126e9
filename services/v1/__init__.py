"""Generated from proto/basin/v1 by proto/generate.py; change the .proto files."""
