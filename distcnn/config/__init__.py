"""The settings of a run: their types, command line, TOML files, and checks of their consistency."""
