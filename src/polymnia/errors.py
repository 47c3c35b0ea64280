"""Every error that a person or a client is meant to read.

    PolymniaError            one line: what is wrong, the value, the remedy
    ├── InputError           the caller's input cannot be used (exit code 2, HTTP 400)
    │   ├── ImageError       a picture that is missing, broken or too large
    │   └── ContextError     a conversation that does not fit the model's context
    ├── EndpointError        a model endpoint refuses or fails (exit code 2, HTTP 502)
    │   └── UnreachableError nobody is there, or does not answer in time
    └── RunError             the run itself failed (exit code 1, HTTP 500)

A tool's own errors are results that the model reads; they are no exceptions here.
"""


class PolymniaError(Exception):
    """Base of all errors whose message is written for the person at the other end."""


class InputError(PolymniaError):
    pass


class ImageError(InputError):
    pass


class ContextError(InputError):
    pass


class EndpointError(PolymniaError):
    pass


class UnreachableError(EndpointError):
    pass


class RunError(PolymniaError):
    pass
