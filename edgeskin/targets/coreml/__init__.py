"""Core ML for iOS: packages (`.mlpackage`), so far read and not built."""
