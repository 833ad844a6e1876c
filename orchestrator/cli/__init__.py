"""The command line: one file per group of commands. Nothing else of the engine imports from here."""
