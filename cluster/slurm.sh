#!/usr/bin/env bash
# One search on nodes of a Slurm cluster, with the environment on a drive that all nodes share:
#
#   ray get-auth-token --generate        # once: the token that every node will ask for
#   sbatch cluster/slurm.sh search moma csa --data /shared/data/mine --out /shared/runs/mine
#
# A job that was preempted, or killed at its time limit, has lost nothing and goes on with:
#   sbatch cluster/slurm.sh search --resume --out /shared/runs/mine
# A --time-budget shorter than --time leaves time for the ensemble and the report.
#SBATCH --job-name=serplatform
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --exclusive
#SBATCH --time=12:00:00
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000)) # several jobs may share a login's network

# Ray's own: starts Ray on every node, runs the command on the first one, stops Ray everywhere.
export RAY_AUTH_MODE=token SERPLATFORM_ADDRESS=auto RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
exec srun --kill-on-bad-exit=0 ray symmetric-run \
    --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --disable-usage-stats \
    -- serplatform "$@"
