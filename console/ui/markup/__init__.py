"""Parts of pages that are easier to build in Python than in a template: icons, numbers, bodies, tracebacks, charts."""
