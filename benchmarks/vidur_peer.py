"""Vidur on the workload of bench_simulate.py: prints requests per CPU second. Runs where Vidur is installed.

Its trained predictors of step times come from a hub; in their place stands a constant cost of a step, which costs the
simulator nothing. What is timed is its event loop alone: better than it is in use.
"""

import json
import sys
import time

from vidur.config import SimulationConfig
from vidur.execution_time_predictor import execution_time_predictor_registry as predictors
from vidur.execution_time_predictor.base_execution_time_predictor import BaseExecutionTimePredictor, ExecutionTimeC
from vidur.simulator import Simulator

OPTIONS = (
    "--replica_config_model_name meta-llama/Llama-3-8B --replica_config_device h100 "
    "--replica_config_num_pipeline_stages 1 --replica_config_tensor_parallel_size 1 "
    "--replica_config_network_device h100_dgx "
    "--replica_scheduler_config_type vllm --vllm_scheduler_config_batch_size_cap 256 "
    "--vllm_scheduler_config_max_tokens_in_batch 8192 "
    "--request_generator_config_type synthetic --length_generator_config_type fixed "
    "--fixed_request_length_generator_config_prefill_tokens 512 "
    "--fixed_request_length_generator_config_decode_tokens 128 "
    "--interval_generator_config_type poisson "
    "--no-metrics_config_write_metrics --no-metrics_config_store_plots "
    "--no-metrics_config_store_operation_metrics --no-metrics_config_store_token_completion_metrics "
    "--no-metrics_config_enable_chrome_trace --no-metrics_config_write_json_trace"
)


class Constant(BaseExecutionTimePredictor):
    def get_execution_time(self, batch, pipeline_stage):  # noqa: ARG002 - its signature
        layer_ms = 8.0 / self._num_layers_per_pipeline_stage
        return ExecutionTimeC(self._num_layers_per_pipeline_stage, *([layer_ms / 12.0] * 12), 0.0, 0.0)


Constant.__abstractmethods__ = frozenset()


def main(n, rate):
    predictors.ExecutionTimePredictorRegistry.get = classmethod(lambda _, __, **given: Constant(**given))
    more = (
        f"--synthetic_request_generator_config_num_requests {n} --poisson_request_interval_generator_config_qps {rate}"
    )
    sys.argv = ["vidur", *OPTIONS.split(), *more.split()]
    simulator = Simulator(SimulationConfig.create_from_cli_args())
    began = time.process_time()
    simulator.run()
    print(json.dumps({"requests_per_cpu_s": n / (time.process_time() - began)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
