"""What a training step costs: counted, measured, and compared with a plain formulation of the released code's own step.

`counting`: FLOPs and least bytes. `timing`: interleaved measurement, the device's ceilings. `steps`: the settings that are compared, and
their steps whole and in parts. `plain`: the released code's step. `memory`: peak memory. `gains`: what each optimisation brings.
`report`: all of it as one JSON file. `inference`: files against network. `figures`: the drawings of the chapter on compute.
"""
