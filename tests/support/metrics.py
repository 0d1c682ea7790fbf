"""What a training row logs, beside the rates of update of the parameter groups that a model has."""

OF_BOTTLENECKS = {  # by kind
    "ae": {"penalty"},
    "vae": {"penalty", "kl", "kl_bits", "kl_weight", "free_nats"},
    "vqvae": {"penalty", "commitment", "codebook_loss", "perplexity", "codes_used", "codes_revived", "code_norm"},
    "vqvae-ema": {"penalty", "commitment", "perplexity", "codes_used", "codes_revived", "code_norm"},
}
OF_LATENTS = {"objective", "latent_norm", "latent_sd", "latent_grad_sd"}.union(*OF_BOTTLENECKS.values())

METRICS = {
    "loss", "bits_per_sample", "error", "errors", "avg_prob_target", "avg_max", "peak_dist", "grad_norm",
    "mfcc_grad_mean", "mfcc_grad_sd", "learning_rate", "samples_per_second", "samples_seen", "epoch",
    "update_ratio_upsampling", "update_ratio_embedding", "update_ratio_layers", "update_ratio_head",
}  # fmt: skip
