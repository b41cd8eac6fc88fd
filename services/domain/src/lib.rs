//! The nouns: xname, MAC address, NID, the inventory as one view, the document, ports and scopes.
