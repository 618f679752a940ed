// Pairs of gate and up of the experts that a row's logits choose.

import package::copy::begin_copy;
import package::lib::expert_pairs::begin;
import package::rows::routed::begin_row;
