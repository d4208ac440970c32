"""Where events go. Each handler has an import path of its own, so that its library stays optional."""
