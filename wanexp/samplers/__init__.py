"""The samplers: each integrates a flow model's ODE or SDE along falling noise levels.

One shape for all, see ``wanexp.samplers.seam``; what they cost and where they call the model is in
``wanexp.sampler_facts``.
"""

from __future__ import annotations

from wanexp.samplers.ancestral import (
    sample_dpm_2_ancestral,
    sample_dpmpp_2s_ancestral,
    sample_euler_ancestral,
    sample_lcm,
)
from wanexp.samplers.multistep import (
    sample_deis,
    sample_dpmpp_2m,
    sample_ipndm,
    sample_res_multistep,
)
from wanexp.samplers.one_step import sample_dpm_2, sample_euler, sample_heun
from wanexp.samplers.sde import (
    sample_dpmpp_2m_sde,
    sample_dpmpp_3m_sde,
    sample_dpmpp_sde,
    sample_er_sde,
)
from wanexp.samplers.seam import Denoise, DrawNoise, Sampler, Sigmas
from wanexp.samplers.unipc import sample_uni_pc, sample_uni_pc_bh2

SAMPLERS: dict[str, Sampler] = {
    "euler": sample_euler,
    "heun": sample_heun,
    "dpm_2": sample_dpm_2,
    "euler_ancestral": sample_euler_ancestral,
    "euler_a": sample_euler_ancestral,
    "dpm_2_ancestral": sample_dpm_2_ancestral,
    "dpmpp_2s_ancestral": sample_dpmpp_2s_ancestral,
    "dpmpp_sde": sample_dpmpp_sde,
    "dpmpp_2m": sample_dpmpp_2m,
    "dpmpp_2m_sde": sample_dpmpp_2m_sde,
    "dpmpp_3m_sde": sample_dpmpp_3m_sde,
    "res_multistep": sample_res_multistep,
    "er_sde": sample_er_sde,
    "lcm": sample_lcm,
    "ipndm": sample_ipndm,
    "deis": sample_deis,
    "uni_pc": sample_uni_pc,
    "uni_pc_bh2": sample_uni_pc_bh2,
}

__all__ = ["SAMPLERS", "Denoise", "DrawNoise", "Sampler", "Sigmas"]
