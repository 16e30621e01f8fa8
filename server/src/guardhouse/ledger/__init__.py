"""Money: holds, resolutions, deposits and refunds; what keeps the books whole is in the database itself."""
