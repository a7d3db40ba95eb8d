"""What protects the sample: the Guard, through which every set-point goes, and the handling of signals."""
