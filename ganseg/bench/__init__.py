"""What a training step costs: counted, measured, and compared with the released code's own step.

`counting`: FLOPs and least bytes. `timing`: interleaved measurement, the device's ceilings. `plain`,
`plain_step`: the released code's generator and step. `steps`: the settings that are compared. `parts`: their
steps in parts. `measure`: comparisons, parts, sweeps. `memory`: peak memory. `gains`: what each optimisation
brings. `inference`: files against network. `versions`, `stepper`: an earlier version of this package. `report`: all
of it as one JSON file. `figures`: the drawings of the chapter on compute.
"""
