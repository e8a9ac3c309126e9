"""What every gRPC process here shares."""
