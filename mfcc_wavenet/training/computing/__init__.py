"""How a step computes: on which device, in which precision, compiled or not, and by which library."""
