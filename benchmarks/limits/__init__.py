"""What one server carries: a long queue, long lists, and the memory of what is finished. `make limits`."""
