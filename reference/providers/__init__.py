"""Stand in for the companies that the shop calls: payment, mail, analytics. Real HTTP on a real socket."""
