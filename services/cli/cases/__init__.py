"""Cases: decisions as data, made by the real services and compared with what is expected."""
