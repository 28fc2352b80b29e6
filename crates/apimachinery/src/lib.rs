//! Selectors, validation, Status errors, patches and server-side apply: the pure part of the API machinery.
