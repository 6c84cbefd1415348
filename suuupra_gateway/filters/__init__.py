"""The filters that ship with the gateway, one file each; this package is scanned for them."""
