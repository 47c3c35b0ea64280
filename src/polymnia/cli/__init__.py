"""The command line: one thin command a capability, imported only when it is called."""
