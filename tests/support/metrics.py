"""What a training row logs, beside the rates of update of the parameter groups that a model has."""

METRICS = {
    "loss", "bits_per_sample", "error", "errors", "avg_prob_target", "avg_max", "peak_dist", "grad_norm",
    "mfcc_grad_mean", "mfcc_grad_sd", "learning_rate", "samples_per_second", "samples_seen", "epoch",
    "update_ratio_upsampling", "update_ratio_embedding", "update_ratio_layers", "update_ratio_head",
}  # fmt: skip
