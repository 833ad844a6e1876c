"""Where the journal can be carried to: files, the memory of a model, a sink of your own."""
